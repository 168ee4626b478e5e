"""The rules for a list of hits as a whole, and how they are met; see docs/queries.md.

`reading` holds what rules read of items, `pool` the candidates of one query, `shortlist` chooses
among them, `narrowing` says which can still help, `making` asks for them. All are pure functions and values of columns.
"""
