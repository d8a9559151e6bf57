drop schema jobs cascade;
