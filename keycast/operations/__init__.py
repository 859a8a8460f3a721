"""What operators live in: signs of life, runs of jobs, the watchdog, the dashboard's figures and pages.

It looks at everything and nothing depends on it: no request, signature or job waits for what is in here.
"""
