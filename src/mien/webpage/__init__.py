"""The page that reads faces in the browser: its files, from one function, for the service and for any web server."""
