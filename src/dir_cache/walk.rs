//! Seeds the tree by looking at the directories themselves.
