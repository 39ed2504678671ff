"""Pages and cards are Jinja2 templates. They get plain values and compute nothing; numbers are written in one way."""
