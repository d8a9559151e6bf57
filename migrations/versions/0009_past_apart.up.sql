set role cairn_owner;

-- As dress_table_1, but split one lower. A question about now asks for valid_to > 2^63 − 2, and the planner does not know
-- that no whole number lies between that and 2^63 − 1: only with this bound does it leave the past out.
create function cairn.dress_table_2(p_schema text, p_table text, p_append_only boolean, p_inline boolean) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  v_name text;
  v_names text[] := array[p_table];
begin
  if not p_append_only then
    v_names := v_names || array[p_table || '_now', p_table || '_past'];
    if to_regclass(format('%I.%I', p_schema, p_table || '_now')) is null then
      execute format('create table %1$I.%2$I partition of %1$I.%3$I for values from (9223372036854775806) to (maxvalue)',
        p_schema, p_table || '_now', p_table);
      execute format('create table %1$I.%2$I partition of %1$I.%3$I for values from (minvalue) to (9223372036854775806)',
        p_schema, p_table || '_past', p_table);
    end if;
  end if;
  foreach v_name in array v_names loop
    if not (select c.relforcerowsecurity from pg_class c
            where c.oid = to_regclass(format('%I.%I', p_schema, v_name))) then
      execute format('alter table %I.%I enable row level security', p_schema, v_name);
      execute format('alter table %I.%I force row level security', p_schema, v_name);
      execute format('create policy of_tenant on %I.%I using (tenant = cairn.bound_tenant()) '
        'with check (tenant = cairn.bound_tenant())', p_schema, v_name);
    end if;
  end loop;
  execute format('grant select on %I.%I to cairn_reader, cairn_writer', p_schema, p_table);
  if p_inline then
    execute format('grant insert, delete on %I.%I to cairn_writer', p_schema, p_table);
  end if;
end $$;
revoke execute on function cairn.dress_table_2 from public;
grant execute on function cairn.dress_table_2 to cairn_projector;
reset role;
