"""mls-extensions §4: what application components may do with a group, as bytes and values.

A component is a part of an application that uses an MLS group beside other parts and knows nothing of them. What each
of them signs, seals, exports or attaches carries its number, so that none can be taken for another's. The rooms follow
the draft: `numbers` §4.1 and §7.5, `labels` §4.2 and §4.3, `dictionary` §4.6, `aad` §4.9, `lists` §5, `ack` §6.1,
`media` §6.2, `last_resort` §6.4. None of them knows a group; what a group asks of them is in `mls.validation`.
"""
