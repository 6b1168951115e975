"""Backups: what of an account outlives the loss of all its devices, as one sealed file.

    seal        the file: a header, then sealed pieces. Sans-IO, streamed both ways
    records     what is in it: the account, people, chats, messages
    files       written beside and renamed; read in pieces

It holds who the contacts are, the newest list of devices, what chats are called and, if asked for, what was said; on
request the seed of the recovery phrase. It never holds a key of a chat or of the devices' group: who had those could
use a nonce again, or follow what was said after the file was made. So nobody becomes an old device again by a backup.
It takes the recovery phrase to act for the account, and that begins anew (`vcd.daemon.service.recovery`).
"""
