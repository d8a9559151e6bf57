-- name: bind : the transaction to one tenant, until it ends
select set_config('cairn.tenant', %(tenant)s, true)

-- name: could_bypass : whether the role signed in could see past row-level security, or become the log's owner
select r.rolsuper or r.rolbypassrls or pg_has_role(r.oid, 'cairn_owner', 'member')
from pg_roles r where r.rolname = current_user
