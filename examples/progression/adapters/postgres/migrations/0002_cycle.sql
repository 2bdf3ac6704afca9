-- Votes and unlocks.  What must hold is held here, whatever a program does.

CREATE TABLE progression.unlocks (
  node text COLLATE "C" NOT NULL,
  level integer NOT NULL CHECK (level >= 1),
  source text NOT NULL CHECK (source IN ('vote', 'admin', 'automatic')),
  unlocked_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (node, level),
  -- Levels are unlocked in order: each but the first stands on the one below.
  below integer GENERATED ALWAYS AS (nullif(level - 1, 0)) STORED,
  FOREIGN KEY (node, below) REFERENCES progression.unlocks (node, level)
);

-- A filling of the pot that came to its end, and where its points went: none is lost or made.
CREATE TABLE progression.cycles (
  cycle bigint PRIMARY KEY CHECK (cycle >= 1),
  node text COLLATE "C" NOT NULL,
  level integer NOT NULL,
  filled bigint NOT NULL,
  cost bigint NOT NULL CHECK (cost >= 0),
  rollover bigint NOT NULL CHECK (rollover >= 0),
  discarded bigint NOT NULL CHECK (discarded >= 0),
  closed_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (node, level),
  CHECK (filled = cost + rollover + discarded),
  FOREIGN KEY (node, level) REFERENCES progression.unlocks (node, level)
);

CREATE TABLE progression.sessions (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  status text NOT NULL DEFAULT 'voting' CHECK (status IN ('voting', 'frozen', 'completed')),
  started_at timestamptz NOT NULL,
  ends_at timestamptz NOT NULL,
  ended_at timestamptz,
  winner bigint,
  CHECK ((ended_at IS NOT NULL) = (status = 'completed')),
  CHECK (winner IS NULL OR status = 'completed')
);

CREATE UNIQUE INDEX one_open_session ON progression.sessions ((true)) WHERE status <> 'completed';

CREATE FUNCTION progression.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'a completed session never changes' USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER completed_sessions_stay BEFORE UPDATE OR DELETE ON progression.sessions
  FOR EACH ROW WHEN (old.status = 'completed') EXECUTE FUNCTION progression.refuse_change();

CREATE TABLE progression.options (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  session bigint NOT NULL REFERENCES progression.sessions,
  position bigint NOT NULL,
  node text COLLATE "C" NOT NULL,
  level integer NOT NULL CHECK (level >= 1),
  votes bigint NOT NULL DEFAULT 0 CHECK (votes >= 0),
  reached_at timestamptz,
  CHECK ((votes = 0) = (reached_at IS NULL)),
  UNIQUE (session, position),
  UNIQUE (session, node, level),
  UNIQUE (session, id)
);

ALTER TABLE progression.sessions
  ADD CONSTRAINT winner_is_an_option FOREIGN KEY (id, winner) REFERENCES progression.options (session, id);

CREATE TABLE progression.votes (
  session bigint NOT NULL,
  user_id text COLLATE "C" NOT NULL REFERENCES progression.users,
  option bigint NOT NULL,
  voted_at timestamptz NOT NULL,
  PRIMARY KEY (session, user_id),
  FOREIGN KEY (session, option) REFERENCES progression.options (session, id)
);

-- The lock keeps the session open until the vote is committed.
CREATE FUNCTION progression.require_open_session() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM progression.sessions WHERE id = new.session AND status = 'voting' FOR SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the session is not open' USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN new;
END $$;

CREATE TRIGGER votes_need_an_open_session BEFORE INSERT ON progression.votes
  FOR EACH ROW EXECUTE FUNCTION progression.require_open_session();
