"""Pages and cards are Jinja2 templates. They get plain values and compute nothing; one module formats all numbers."""
