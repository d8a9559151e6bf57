set role cairn_owner;
drop function cairn.dress_table_2;
reset role;
