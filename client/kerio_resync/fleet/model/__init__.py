"""The model of a rollout.

What each cache costs, and how server and links share it out.
"""
