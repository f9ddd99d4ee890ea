"""A page in the browser: watch SAM being prompted step by step, and correct it.

Only `page` and `server` know Gradio.
"""
