drop table cairn.operations;
