-- name: schema
create table if not exists access_members (
  tenant uuid not null,
  member_id uuid not null,
  name text not null,
  email text not null,
  role text not null,
  added_at timestamptz not null,
  removed_at timestamptz,
  forgotten_at timestamptz,
  time_zone text,
  language text,
  date_format text,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, member_id, valid_to)
) partition by range (valid_to);
create table if not exists access_roles (
  tenant uuid not null,
  role text not null,
  members integer not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, role, valid_to)
) partition by range (valid_to);
create table if not exists access_secrets (
  tenant uuid not null,
  secret_hash text not null,
  member_id uuid not null,
  token_id uuid not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, secret_hash, valid_to)
) partition by range (valid_to);
create table if not exists access_tokens (
  tenant uuid not null,
  member_id uuid not null,
  token_id uuid not null,
  label text not null,
  issued_at timestamptz not null,
  expires_at timestamptz not null,
  revoked boolean not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, member_id, token_id, valid_to)
) partition by range (valid_to)

-- name: token
select t.token_id, t.member_id, m.role, t.expires_at, t.revoked or m.removed_at is not null as revoked
from access_secrets s
join access_tokens t on t.member_id = s.member_id and t.token_id = s.token_id
  and t.valid_from <= %(at)s and t.valid_to > %(at)s
join access_members m on m.member_id = s.member_id and m.valid_from <= %(at)s and m.valid_to > %(at)s
where s.secret_hash = %(secret_hash)s and s.valid_from <= %(at)s and s.valid_to > %(at)s

-- name: members
select member_id, name, email, role, added_at, removed_at, forgotten_at, time_zone, language, date_format
from access_members
where valid_from <= %(at)s and valid_to > %(at)s and member_id > %(after)s
  and (%(include_removed)s or removed_at is null)
order by member_id
limit %(limit)s

-- name: tokens
select member_id, token_id, label, issued_at, expires_at, revoked from access_tokens
where member_id = %(member_id)s and token_id > %(after)s and valid_from <= %(at)s and valid_to > %(at)s
order by token_id
limit %(limit)s
