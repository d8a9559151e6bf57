-- name: companies : how far the live build of a model has come in each company
select c.tenant, c.position
from cairn.checkpoints c
join cairn.builds b on b.model = c.model and b.build = c.build and b.state = 'live'
where c.model = %(model)s and c.position > 0
