-- name: take_digest : of something that must be unique; the subject who has it, were it somebody else
with taken as (
  insert into cairn.unique_digests (tenant, field, digest, subject)
  values (cairn.bound_tenant(), %(field)s, %(digest)s, %(subject)s)
  on conflict (tenant, field, digest) do nothing
  returning subject
)
select u.subject from cairn.unique_digests u
where u.tenant = cairn.bound_tenant() and u.field = %(field)s and u.digest = %(digest)s and u.subject <> %(subject)s
  and not exists (select from taken)

-- name: free_digests : all that a subject has
delete from cairn.unique_digests where tenant = cairn.bound_tenant() and subject = %(subject)s
