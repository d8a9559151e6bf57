-- name: schema
create table if not exists price_books_books (
  tenant uuid not null,
  pricebook_id uuid not null,
  name text not null,
  edition text not null,
  currency text not null,
  dated_on date not null,
  source text,
  opened_at timestamptz not null,
  opened_by uuid not null,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, pricebook_id, valid_to)
) partition by range (valid_to);
create table if not exists price_books_prices (
  tenant uuid not null,
  pricebook_id uuid not null,
  code text collate "C" not null,
  description text not null,
  unit text not null,
  unit_price numeric not null,
  cost_type text not null,
  category text,
  valid_from bigint not null,
  valid_to bigint not null,
  primary key (tenant, pricebook_id, code, unit, cost_type, valid_to)
) partition by range (valid_to)

-- name: books : a page by id
select pricebook_id, name, edition, currency, dated_on, source, opened_at, opened_by
from price_books_books
where pricebook_id > %(after)s and valid_from <= %(at)s and valid_to > %(at)s
order by pricebook_id
limit %(limit)s

-- name: book
select pricebook_id, name, edition, currency, dated_on, source, opened_at, opened_by
from price_books_books
where pricebook_id = %(pricebook_id)s and valid_from <= %(at)s and valid_to > %(at)s

-- name: prices : a page by code
select pricebook_id, code, description, unit, unit_price, cost_type, category
from price_books_prices
where pricebook_id = %(pricebook_id)s and code >= %(prefix)s and starts_with(code, %(prefix)s)
  and (code, unit, cost_type) > (%(after_code)s, %(after_unit)s, %(after_cost_type)s)
  and valid_from <= %(at)s and valid_to > %(at)s
  and (%(search)s::text is null or position(lower(%(search)s) in lower(code)) > 0
    or position(lower(%(search)s) in lower(description)) > 0 or position(lower(%(search)s) in lower(category)) > 0)
order by code, unit, cost_type
limit %(limit)s
