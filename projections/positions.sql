-- name: position
select position from {view}

-- name: with_head : and the head of the log
select h.position, h.epoch, (select position from {view}) from cairn.heads h where h.tenant = cairn.bound_tenant()
