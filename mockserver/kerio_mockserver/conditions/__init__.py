"""Conditions under which the mock serves: its link, load, faults and churn."""
