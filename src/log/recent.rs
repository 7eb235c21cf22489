//! What there are few of, by name, where mostly the same one is wanted again.

use std::borrow::Borrow;

/// Items by name. The one that was wanted last is found by one comparison, another by looking through them.
#[derive(Debug)]
pub struct Recent<K, V> {
    items: Vec<(K, V)>,
    last: usize,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            last: 0,
        }
    }
}

impl<K, V> Recent<K, V> {
    /// The item of that name; where there is none, what `make` returns becomes it.
    pub fn get_or_insert_with<Q>(&mut self, name: &Q, make: impl FnOnce() -> (K, V)) -> &mut V
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let is_last = self.items.get(self.last);
        if is_last.is_none_or(|(known, _)| known.borrow() != name) {
            self.last = self.position(name).unwrap_or_else(|| {
                self.items.push(make());
                self.items.len() - 1
            });
        }
        &mut self.items[self.last].1
    }

    /// The item of that name.
    pub fn get<Q>(&self, name: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.position(name).map(|at| &self.items[at].1)
    }

    /// Takes an item out.
    pub fn remove<Q>(&mut self, name: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.position(name).map(|at| self.items.swap_remove(at).1)
    }

    /// All of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.items.iter_mut().map(|(name, item)| (&*name, item))
    }

    /// All of them, to be looked at.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.items.iter().map(|(name, item)| (name, item))
    }

    /// All of them, without their names.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.items.iter().map(|(_, item)| item)
    }

    fn position<Q>(&self, name: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.items
            .iter()
            .position(|(known, _)| known.borrow() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_leads_to_its_item_also_when_another_was_wanted_before_or_taken_out() {
        let mut items = Recent::<String, u32>::default();
        let names = ["a", "b", "c", "b", "a", "a"];
        for (name, number) in names.into_iter().zip(1..) {
            *items.get_or_insert_with(name, || (name.to_owned(), 0)) += number;
        }
        assert_eq!(items.get("a"), Some(&12));
        assert_eq!(items.get("b"), Some(&6));
        assert_eq!(items.remove("a"), Some(12));
        assert_eq!(items.get("a"), None);
        assert_eq!(*items.get_or_insert_with("c", || unreachable!()), 3);
        assert_eq!(*items.get_or_insert_with("a", || ("a".to_owned(), 7)), 7);
        assert_eq!(items.values().sum::<u32>(), 16);
    }
}
