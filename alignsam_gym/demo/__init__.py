"""A page in the browser: watch SAM being prompted step by step, and correct it.

`pictures`, `pointers`, `session` and `words` know nothing of Gradio; `page` and `server` are all that does.
"""
