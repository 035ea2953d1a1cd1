"""Days of a team, made up or recorded, played through a policy: what each person would have waited.

Plain Python. The policy that is tried is the very code the scheduler runs, `generation.policy`.
"""
