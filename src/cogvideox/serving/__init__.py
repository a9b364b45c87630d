"""The server: jobs, their store and their files, workers, the API and the page."""
