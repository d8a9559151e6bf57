-- name: schema
create table if not exists project_names (
  tenant uuid not null,
  normalised text not null,
  project_id uuid not null,
  name text not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, normalised, valid_to)
) partition by range (valid_to)

-- name: holder
select normalised, project_id, name from project_names
where normalised = %(normalised)s and valid_from <= %(at)s and valid_to > %(at)s
