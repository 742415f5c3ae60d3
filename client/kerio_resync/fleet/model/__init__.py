"""The model of a rollout: what each cache costs, and how server and links share it out."""
