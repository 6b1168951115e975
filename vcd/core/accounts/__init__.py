"""Who is who: accounts, their devices, the people we know, and whom to believe. Pure values; no clock, no disk.

Begin reading at `head`, which says what others may learn of an account, and `device_list`, which says what only its
own devices do.
"""
