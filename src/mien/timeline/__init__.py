"""What is seen of a video once it is read: annotated copy with sound, timelines, and seconds and episodes a person."""
