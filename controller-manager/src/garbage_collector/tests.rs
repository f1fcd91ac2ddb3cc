//! Tables of this controller's decisions. Never talks to an API server.
