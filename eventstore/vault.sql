-- name: load_keys : wrapped keys of subjects of the bound company; without one where it was erased
select s.subject, s.number, s.wrapped, k.kek, k.wrapped
from cairn.subject_keys s
left join cairn.tenant_keys k on k.tenant = s.tenant and k.number = s.number
where s.tenant = cairn.bound_tenant() and s.subject = any (%(subjects)s)

-- name: live_keys : every key of the bound company that was not erased
select s.subject, s.number, s.wrapped, k.kek, k.wrapped
from cairn.subject_keys s
join cairn.tenant_keys k on k.tenant = s.tenant and k.number = s.number
where s.tenant = cairn.bound_tenant()

-- name: tenant_key : the bound company's key
select number, kek, wrapped from cairn.tenant_keys
where tenant = cairn.bound_tenant()
order by number desc
limit 1

-- name: first_tenant_key : somebody else may be faster
insert into cairn.tenant_keys (tenant, number, kek, wrapped)
values (cairn.bound_tenant(), 1, %(kek)s, %(wrapped)s)
on conflict do nothing

-- name: new_subject_keys : somebody else may be faster, and an erased subject gets none
insert into cairn.subject_keys (tenant, subject, number, wrapped)
select cairn.bound_tenant(), s.subject, %(number)s, s.wrapped
from unnest(%(subjects)s::uuid[], %(keys)s::bytea[]) as s (subject, wrapped)
on conflict do nothing

-- name: keks_in_use : the names of the key-encryption keys that companies' keys are wrapped under
select kek from cairn.keks_in_use_1() as kek

-- name: erase_key : of a subject whom the log says was forgotten
select cairn.erase_key_1(%(subject)s, %(by)s, %(reason)s) as erased

-- name: rewrap_keys
select cairn.rewrap_keys_1(%(number)s, %(kek)s, %(wrapped)s, %(subjects)s::uuid[], %(keys)s::bytea[]) as done

-- name: forgotten_with_key : whom the log says was forgotten, and who has a key all the same: of an older backup
select s.subject, e.actor from cairn.subject_keys s
join cairn.events e on e.tenant = s.tenant and e.stream_id = s.subject and e.type = 'membership.forgotten'
where s.tenant = cairn.bound_tenant() and s.erased_at is null
