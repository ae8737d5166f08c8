"""The dashboard: a page in the browser that shows what happens, and whose buttons ask for what `actions` offers.

Served on loopback only, to whoever has the token; it decides nothing. Starlette and uvicorn are loaded by `serving`,
`routes` and `guard` alone, and these only once hotpipe is watching: start-up time.
"""
