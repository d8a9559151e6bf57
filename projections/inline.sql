-- name: stand_by : a switch of the model waits for this transaction, and this one for a switch
select pg_advisory_xact_lock_shared(7203055, hashtext(%(model)s))
