"""A page in the browser for labelling a folder of photographs: SAM answers clicks, and a trained agent proposes masks.

Only `label_server` knows Starlette and Uvicorn. The page itself is `label.html`, `label.css` and `label.js`.
"""
