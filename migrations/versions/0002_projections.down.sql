-- Read models are derived: they go with the bookkeeping and are built again from the log.
do $$
declare
  v_schema text;
begin
  execute format('grant cairn_projector to %I', current_user);
  for v_schema in select b.schema_name from cairn.builds b loop
    execute format('drop schema if exists %I cascade', v_schema);
  end loop;
end $$;
drop schema read cascade;
drop function cairn.heartbeat_1, cairn.dress_table_1;
drop table cairn.parked, cairn.deliveries, cairn.checkpoints, cairn.builds, cairn.leases, cairn.projectors;
