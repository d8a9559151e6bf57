-- name: schema
create table if not exists accuracy_projects (
  tenant uuid not null,
  project_id uuid not null,
  name text not null,
  building_type text,
  deleted boolean not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, project_id, valid_to)
) partition by range (valid_to);
create table if not exists accuracy_members (
  tenant uuid not null,
  member_id uuid not null,
  name text not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, member_id, valid_to)
) partition by range (valid_to);
create table if not exists accuracy_budgets (
  tenant uuid not null,
  estimate_id uuid not null,
  budget numeric not null,
  aace_class integer,
  submitted_by uuid not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, estimate_id, valid_to)
) partition by range (valid_to);
create table if not exists accuracy_actuals (
  tenant uuid not null,
  actuals_id uuid not null,
  project_id uuid not null,
  baseline_id uuid not null,
  currency text not null,
  amount numeric not null,
  finished_on date,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, actuals_id, valid_to)
) partition by range (valid_to);
create index if not exists accuracy_actuals_finished
  on accuracy_actuals (tenant, project_id, valid_to) where finished_on is not null;
create table if not exists accuracy_types (
  tenant uuid not null,
  actuals_id uuid not null,
  cost_type text not null,
  amount numeric not null,
  entries integer not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, actuals_id, cost_type, valid_to)
) partition by range (valid_to)

-- name: finished : projects whose books are finished, with the estimate they are compared with
select a.project_id, a.actuals_id, a.baseline_id, p.name, p.building_type, b.submitted_by as estimator_id,
  m.name as estimator_name, b.aace_class, a.currency, b.budget, a.amount as actual, a.finished_on
from accuracy_actuals a
join accuracy_projects p on p.project_id = a.project_id and p.valid_from <= %(at)s and p.valid_to > %(at)s
join accuracy_budgets b on b.estimate_id = a.baseline_id and b.valid_from <= %(at)s and b.valid_to > %(at)s
left join accuracy_members m on m.member_id = b.submitted_by and m.valid_from <= %(at)s and m.valid_to > %(at)s
where a.finished_on is not null and a.project_id > %(after)s and a.valid_from <= %(at)s and a.valid_to > %(at)s
  and not p.deleted
order by a.project_id
limit %(limit)s

-- name: by_cost_type : of the same projects
select a.baseline_id, t.cost_type, t.amount
from accuracy_actuals a
join accuracy_projects p on p.project_id = a.project_id and p.valid_from <= %(at)s and p.valid_to > %(at)s
join accuracy_types t on t.actuals_id = a.actuals_id and t.valid_from <= %(at)s and t.valid_to > %(at)s
where a.finished_on is not null and a.valid_from <= %(at)s and a.valid_to > %(at)s and not p.deleted
order by a.baseline_id, t.cost_type
