"""Talking to servers: addresses without secrets, certificates, pages of answers, retries, and the variables that steer it."""
