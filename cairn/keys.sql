-- name: keys_of_company : what can be told of the bound company's keys without seeing any
select k.kek, k.number, k.created_at, count(s.subject) filter (where s.erased_at is null),
  count(s.subject) filter (where s.erased_at is not null)
from cairn.tenant_keys k left join cairn.subject_keys s on s.tenant = k.tenant
where k.tenant = cairn.bound_tenant()
group by k.kek, k.number, k.created_at
order by k.number
