set role cairn_owner;
drop table cairn.last_active;
reset role;
