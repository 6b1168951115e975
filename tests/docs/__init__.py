"""The guides for people, app authors and operators do what they show."""
