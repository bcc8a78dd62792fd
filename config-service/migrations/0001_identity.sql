-- Says whose database this is ("SHCF").
PRAGMA application_id = 1397244742;
