//! What erased people leave in the files of SQLite: nothing, also where rows have moved from page to page.

use std::collections::BTreeSet;

use aggregates::{EmailAddress, KeyId, Role, UserId};
use authlog::log::Reader;
use authlog::service::Caller;
use authlog::service::erase::Eraser;
use tokio::task::JoinSet;

use crate::story::{ISSUER, setup_to_its_end};
use crate::support::{Backend, TestDatabase};
use crate::world::{World, context, identity};

const ROUNDS: usize = 3;
const PEOPLE: usize = 250;
const ERASED: usize = 200;

/// One order of numbers for each seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

struct Person {
    id: UserId,
    name: String,
    wrapped_key: String,
}

/// Does one thing for each, all at once, so that they share commits.
async fn all<T: Send + 'static>(work: impl Iterator<Item = impl Future<Output = T> + Send + 'static>) -> Vec<T> {
    work.collect::<JoinSet<T>>().join_all().await
}

/// Invites people, most of whom sign in: their rows grow when they do.
async fn people_who_sign_in(world: &World, owner: &Caller, seed: usize) -> Vec<Person> {
    let mut numbers = Numbers(seed as u64);
    let version = world.provider_version().await;
    let names = (0..PEOPLE).map(|number| format!("p{seed}-{number:05}x{}", "abcdefgh".repeat(numbers.below(4))));
    let names: Vec<String> = names.collect();
    let invitations = names.iter().map(|name| {
        let (service, owner, name) = (world.service().clone(), owner.clone(), name.clone());
        async move {
            let address = EmailAddress::parse(&format!("{name}@example.com")).unwrap();
            (service.invite_user(&context(), &owner, address, Role::Developer).await.unwrap().id, name)
        }
    });
    let mut people = Vec::new();
    for (id, name) in all(invitations).await {
        people.push(Person { id, name, wrapped_key: wrapped_key(world, id).await });
    }
    let who: Vec<usize> = (0..PEOPLE).map(|_| numbers.below(PEOPLE)).collect::<BTreeSet<_>>().into_iter().collect();
    let identities = who.into_iter().map(|number| {
        let name = &names[number];
        let (email, shown) =
            (format!("{name}@example.com"), format!("Name of {name} {}", "n".repeat(numbers.below(40))));
        let mut identity = identity(ISSUER, name, Some(&email), Some(&shown));
        identity.picture = Some(format!("https://pictures.example.com/{name}/{}.png", "p".repeat(numbers.below(150))));
        identity
    });
    let sign_ins = identities.map(|identity| {
        let service = world.service().clone();
        async move { service.sign_in(&context(), version, identity).await.map(drop).unwrap() }
    });
    all(sign_ins).await;
    while people.len() > ERASED {
        people.swap_remove(numbers.below(people.len()));
    }
    people
}

async fn wrapped_key(world: &World, user: UserId) -> String {
    let sql = format!("SELECT wrapped FROM data_keys WHERE id = '{}'", KeyId::Person(user));
    let wrapped = world.service().log.read().database().texts(&sql, &[]).await.unwrap().remove(0);
    // Not the master key's id, which all have.
    wrapped[20..60].to_owned()
}

/// Who can be found in a file of the data directory, and in which.
fn found(database: &TestDatabase, people: &[Person]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(database.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        for Person { name, wrapped_key, .. } in people {
            if text.contains(&name[..8]) || text.contains(wrapped_key) {
                found.push(format!("{name} in {}", path.display()));
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_erased_is_left_in_a_page_that_their_row_has_moved_from() {
    let mut world = World::new(Backend::Sqlite).await;
    let owner = setup_to_its_end(&world).await;
    for seed in 0..ROUNDS {
        let people = people_who_sign_in(&world, &owner, seed).await;
        assert_eq!(found(&world.database, &people).len().min(ERASED), ERASED, "the search does not find them");
        let erasures = people.iter().map(|person| {
            let (service, id) = (world.service().clone(), person.id);
            async move { service.erase_user(&context(), Eraser::Operator, id).await.unwrap().wiped }
        });
        assert!(all(erasures).await.into_iter().all(|wiped| wiped));
        assert_eq!(found(&world.database, &people), Vec::<String>::new());
    }
    world.close().await;
    let reader = Reader::open(&world.database.location).await.unwrap();
    assert_eq!(reader.database().texts("PRAGMA integrity_check", &[]).await.unwrap(), ["ok"]);
    reader.database().close().await;
}
