-- name: reached : how far these models have come for the bound company
select c.position from cairn.checkpoints c
where c.tenant = cairn.bound_tenant() and c.model = any (%(models)s)
