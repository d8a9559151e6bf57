-- name: progress : how far the live build of each read model has come, in each company and its log's epoch
select c.tenant, c.model, b.version, c.position, h.epoch
from cairn.checkpoints c
join cairn.builds b on b.model = c.model and b.build = c.build and b.state = 'live'
join cairn.heads h on h.tenant = c.tenant
where c.position > 0

-- name: progress_of : the same for some companies
select c.tenant, c.model, b.version, c.position, h.epoch
from cairn.checkpoints c
join cairn.builds b on b.model = c.model and b.build = c.build and b.state = 'live'
join cairn.heads h on h.tenant = c.tenant
where c.position > 0 and c.tenant = any (%(tenants)s)
