-- JSON: the stages of the rollout, and in which of them it is since when. A rollout of before has none.
ALTER TABLE rollouts ADD COLUMN plan TEXT NOT NULL DEFAULT '{"stages":[]}';
ALTER TABLE rollouts ADD COLUMN position TEXT NOT NULL DEFAULT 'null';
