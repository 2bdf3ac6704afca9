-- Points are in thousandths throughout.  One row a contribution, one pot, one total a user.

CREATE TABLE progression.users (
  id text COLLATE "C" PRIMARY KEY CHECK (id <> ''),
  username text NOT NULL,
  points bigint NOT NULL CHECK (points >= 0)
);

CREATE TABLE progression.pot (
  id smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
  cycle bigint NOT NULL DEFAULT 1 CHECK (cycle >= 1),
  filled bigint NOT NULL DEFAULT 0 CHECK (filled >= 0),
  lifetime bigint NOT NULL DEFAULT 0 CHECK (lifetime >= filled),  -- sum of the ledger: bounds every other sum
  goal_node text COLLATE "C",
  goal_level integer CHECK (goal_level >= 1),
  goal_cost bigint CHECK (goal_cost >= 0),
  CHECK (num_nulls(goal_node, goal_level, goal_cost) IN (0, 3))
) WITH (fillfactor = 10);  -- updated by every commit: room for the new version in the same page

INSERT INTO progression.pot DEFAULT VALUES;

CREATE TABLE progression.ledger (
  origin smallint NOT NULL CHECK (origin BETWEEN 0 AND 2),  -- client, vote, admin
  event_id text COLLATE "C" NOT NULL CHECK (event_id <> ''),
  user_id text COLLATE "C" NOT NULL REFERENCES progression.users,
  metric text COLLATE "C" NOT NULL CHECK (metric <> ''),
  value bigint NOT NULL CHECK (value >= 0),
  points bigint NOT NULL CHECK (points >= 0),
  cycle bigint NOT NULL CHECK (cycle >= 1),  -- of the pot that the points fell into
  recorded_at timestamptz NOT NULL,
  PRIMARY KEY (origin, event_id)
);

CREATE INDEX ledger_user ON progression.ledger (user_id);

CREATE TABLE progression.weights (
  metric text COLLATE "C" PRIMARY KEY,
  milli bigint NOT NULL CHECK (milli >= 0),
  updated_at timestamptz NOT NULL DEFAULT now()
);

INSERT INTO progression.weights (metric, milli) VALUES
  ('message', 1000),
  ('command', 2000),
  ('item_crafted', 200000),
  ('item_used', 10000),
  ('search_performed', 25000),
  ('item_sold', 50000),
  ('item_bought', 50000),
  ('item_disassembled', 50000),
  ('slots_spin', 1000),
  ('slots_win', 1000),
  ('slots_big_win', 10000),
  ('slots_jackpot', 200000);
