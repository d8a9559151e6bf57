-- name: schema
create table if not exists code_sets_editions (
  tenant uuid not null,
  codeset_id uuid not null,
  code_set text collate "C" not null,
  edition text collate "C" not null,
  source text,
  registered_at timestamptz not null,
  registered_by uuid not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, codeset_id, valid_to)
) partition by range (valid_to);
create table if not exists code_sets_codes (
  tenant uuid not null,
  codeset_id uuid not null,
  code text collate "C" not null,
  description text not null,
  unit text,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, codeset_id, code, valid_to)
) partition by range (valid_to)

-- name: editions : a page by set and edition
select codeset_id, code_set, edition, source, registered_at, registered_by
from code_sets_editions
where (code_set, edition) > (%(after_set)s, %(after_edition)s) and valid_from <= %(at)s and valid_to > %(at)s
  and (%(code_set)s::text is null or code_set = %(code_set)s)
order by code_set, edition
limit %(limit)s

-- name: edition
select codeset_id, code_set, edition, source, registered_at, registered_by
from code_sets_editions
where codeset_id = %(codeset_id)s and valid_from <= %(at)s and valid_to > %(at)s

-- name: codes : a page by code
select codeset_id, code, description, unit
from code_sets_codes
where codeset_id = %(codeset_id)s and code > %(after)s and code >= %(prefix)s and starts_with(code, %(prefix)s)
  and valid_from <= %(at)s and valid_to > %(at)s
  and (%(search)s::text is null or position(lower(%(search)s) in lower(code)) > 0
    or position(lower(%(search)s) in lower(description)) > 0)
order by code
limit %(limit)s
