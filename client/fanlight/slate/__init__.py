"""The rules for a list of hits as a whole, and how they are met; see docs/queries.md.

`pool` holds the candidates of one query, `shortlist` chooses among them, `narrowing` says which
candidates can still help, `making` asks for them. All are pure functions and values of columns.
"""
