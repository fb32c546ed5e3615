//! The small world of the built-in corpus. Adding, removing or reordering a word changes every story: the golden test
//! notices, and models trained on the old stories then no longer fit the new ones.

pub(super) const PEOPLE: [&str; 28] = [
    "Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Hugo", "Iris", "Jonas", "Karin", "Leo", "Mara", "Nils",
    "Olga", "Paul", "Quinn", "Rosa", "Simon", "Tina", "Ulla", "Victor", "Wanda", "Yara", "Zoe", "Oscar", "Lena", "Max",
];

/// Every place goes with "in the" and "to the".
pub(super) const PLACES: [&str; 20] = [
    "mill", "barn", "school", "garden", "kitchen", "tower", "market", "forest", "library", "harbour", "church",
    "stable", "cellar", "attic", "castle", "park", "bakery", "museum", "cave", "hall",
];

pub(super) const COLOURS: [&str; 8] = ["red", "blue", "green", "yellow", "black", "white", "brown", "silver"];

pub(super) const OBJECTS: [&str; 20] = [
    "key", "cup", "book", "hat", "ring", "lamp", "rope", "coat", "knife", "map", "ball", "bell", "drum", "letter",
    "spoon", "candle", "flag", "clock", "brush", "mirror",
];

pub(super) const CONTAINERS: [&str; 8] = ["box", "bag", "basket", "chest", "sack", "jar", "bucket", "suitcase"];

/// Things that are counted; the plural is an added s.
pub(super) const ITEMS: [&str; 8] = ["coin", "apple", "shell", "stamp", "bead", "nut", "card", "egg"];

/// Everybody has at most one of each.
pub(super) const RELATIONS: [&str; 8] =
    ["teacher", "friend", "neighbour", "cousin", "boss", "doctor", "guide", "partner"];

/// Sentences that say nothing about anybody.
pub(super) const OPENINGS: [&str; 8] = [
    "It was a cold morning.",
    "The sun was high.",
    "It rained all day.",
    "The wind was strong.",
    "It was a quiet evening.",
    "Snow lay on the roofs.",
    "It was market day.",
    "The night was dark.",
];
