"""Planning as an HTTP service: jobs from instances and intents, progress as events, results as documents.

The server process keeps the repository and answers requests; it never reads what a stranger posted. Reading,
planning and drawing happen in worker processes that can be stopped, bounded and replaced.
"""
