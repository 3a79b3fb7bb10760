//! The play: eras on fresh databases, rounds of a minute in each. A round is load and trouble together, then everything is made
//! well again, and what came of it is checked. Eras end so that logs and histories have an end, however long the run is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Client;

use crate::Failure;
use crate::caller::{Call, Caller, Outcome};
use crate::check::{Plant, check};
use crate::cluster::{Cluster, Made};
use crate::commons::share;
use crate::dice::Dice;
use crate::node::Recipe;
use crate::person::{live, refused};
use crate::proxy::Proxy;
use crate::rivals::{ask_about_the_ended, race};
use crate::setup;
use crate::tally::{Promise, Tally};
use crate::trouble::database::Database;
use crate::trouble::nodes::Nodes;
use crate::trouble::provider;
use crate::world::World;

const ROUNDS_AN_ERA: u64 = 5;
/// Of load and trouble; with the checks a round is about a minute.
const ROUND: Duration = Duration::from_secs(46);
const NODES_ON_POSTGRES: usize = 3;
/// Tokens that every node is asked about at rest.
const ASKED_AT_REST: usize = 60;
/// Whoever is stopped in mid-call finishes within this.
const COMES_TO_REST: Duration = Duration::from_secs(1);

/// Setup that nothing disturbs takes a second or two.
const SETUP_AT_REST: Duration = Duration::from_secs(60);

/// What all of it is played with.
#[derive(Clone)]
pub(crate) struct Game {
    pub(crate) tally: Arc<Tally>,
    pub(crate) seed: u64,
    pub(crate) program: PathBuf,
    pub(crate) work: PathBuf,
    pub(crate) keep: PathBuf,
    pub(crate) ends: Instant,
    pub(crate) plant: Option<Plant>,
}

/// How many play.
#[derive(Clone, Copy)]
struct Cast {
    nodes: usize,
    people: usize,
}

impl Game {
    fn goes_on(&self) -> bool {
        Instant::now() < self.ends && !self.tally.is_broken()
    }

    /// One server on SQLite.
    pub(crate) async fn play_on_sqlite(self) -> Result<(), Failure> {
        for era in 0.. {
            if !self.goes_on() {
                break;
            }
            let stage = Stage::new(&self, &format!("sqlite-{era}"), None, Cast { nodes: 1, people: 2 })?;
            stage.play(&self, None).await?;
        }
        Ok(())
    }

    /// Three nodes on one PostgreSQL, each with a network of its own.
    pub(crate) async fn play_on_postgres(self, made: Made) -> Result<(), Failure> {
        let mut cluster = Some(Cluster::start(made).await?);
        for era in 0.. {
            let Some(running) = cluster.take().filter(|_| self.goes_on()) else { break };
            let name = format!("soak_{era}");
            let url = running.create_database(&name).await?;
            let mut proxies = Vec::new();
            for _ in 0..NODES_ON_POSTGRES {
                proxies.push(Proxy::before(&url).await);
            }
            let cast = Cast { nodes: NODES_ON_POSTGRES, people: 4 };
            let stage = Stage::new(&self, &format!("postgres-{era}"), Some((url.as_str(), proxies.as_slice())), cast)?;
            let dice = Dice::of(self.seed, &format!("{name} database"));
            let database = Database { cluster: running, proxies, dice };
            if let Some(database) = stage.play(&self, Some(database)).await? {
                if !self.tally.is_broken() {
                    database.cluster.drop_database(&name).await?;
                }
                cluster = Some(database.cluster);
            }
        }
        Ok(())
    }
}

/// One era: an instance with its nodes.
struct Stage {
    name: String,
    folder: PathBuf,
    world: Arc<World>,
    nodes: Nodes,
    people: usize,
}

impl Stage {
    fn new(game: &Game, name: &str, postgres: Option<(&str, &[Proxy])>, cast: Cast) -> Result<Self, Failure> {
        let folder = game.work.join(name);
        let data = folder.join("data");
        fs::create_dir_all(&data)?;
        let flags = |url: Option<&str>| {
            let mut flags = vec!["--data-dir".to_owned(), data.display().to_string()];
            flags.extend(url.into_iter().flat_map(|url| ["--database-url".to_owned(), url.to_owned()]));
            flags
        };
        // Commands reach the database without a proxy.
        let direct = flags(postgres.map(|(url, _)| url));
        let world = World::new(Arc::clone(&game.tally), &folder, &game.program, direct, cast.nodes)?;
        let recipes = (0..cast.nodes).map(|node| Recipe {
            program: game.program.clone(),
            flags: flags(postgres.map(|(_, proxies)| proxies[node].url.as_str())),
            output: folder.join(format!("node-{node}.log")),
            tally: Arc::clone(&game.tally),
        });
        let (world, recipes) = (Arc::new(world), recipes.collect());
        let nodes = Nodes::new(&world, recipes, Dice::of(game.seed, &format!("{name} nodes")));
        Ok(Self { name: name.to_owned(), folder, world, nodes, people: cast.people })
    }

    /// Plays all rounds; gives the database back.
    async fn play(mut self, game: &Game, mut database: Option<Database>) -> Result<Option<Database>, Failure> {
        self.nodes.look_after_all().await;
        for round in 0..ROUNDS_AN_ERA {
            if !game.goes_on() {
                break;
            }
            (self, database) = self.round(game, database, round).await?;
        }
        if self.world.owner.get().is_none() && !game.tally.is_broken() {
            self.finish_setup(game).await?;
        }
        self.nodes.end().await;
        if game.tally.is_broken() {
            self.keep(game, database.as_ref())?;
        } else {
            fs::remove_dir_all(&self.folder)?;
        }
        Ok(database)
    }

    async fn round(
        self,
        game: &Game,
        database: Option<Database>,
        round: u64,
    ) -> Result<(Self, Option<Database>), Failure> {
        let Self { name, folder, world, nodes, people } = self;
        world.goes_on.send_replace(true);
        let seed = game.seed.wrapping_add(round);
        let load = tokio::spawn(load(Arc::clone(&world), name.clone(), seed, people, round == 0));
        let dice = Dice::of(seed, &format!("{name} provider"));
        let provider = tokio::spawn(provider::make_trouble(Arc::clone(&world), dice));
        let nodes = tokio::spawn(nodes.make_trouble());
        let database = database.map(|database| tokio::spawn(database.make_trouble(Arc::clone(&world))));
        let ends = game.ends.min(Instant::now() + ROUND);
        while Instant::now() < ends && !game.tally.is_broken() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        world.goes_on.send_replace(false);
        // The database first: nodes do not start without it.
        let database = match database {
            Some(database) => Some(database.await??),
            None => None,
        };
        let mut nodes = nodes.await?;
        provider.await?;
        load.await??;
        let http = Client::builder().tls_certs_only(Vec::<reqwest::Certificate>::new()).timeout(Duration::from_secs(5));
        nodes.recover(&http.build()?).await;
        tokio::time::sleep(COMES_TO_REST).await;
        at_rest(&world, &name, seed).await?;
        let printed = check(&world, game.plant).await?;
        world.flush_notes();
        game.tally.round();
        if game.tally.is_broken() {
            fs::write(folder.join("events.jsonl"), printed)?;
        }
        Ok((Self { name, folder, world, nodes, people }, database))
    }

    /// What faults, or the end of the run, kept from being done is done at rest.
    async fn finish_setup(&self, game: &Game) -> Result<(), Failure> {
        let mut operator = Caller::new(&self.world, &format!("{} latecomer", self.name), game.seed)?.who_waits();
        self.world.goes_on.send_replace(true);
        let owner = tokio::time::timeout(SETUP_AT_REST, setup::set_up(&mut operator)).await;
        self.world.goes_on.send_replace(false);
        game.tally.checked(Promise::RecoversByItself);
        if !matches!(owner, Ok(Some(_))) {
            let what = format!("{}: setup is not done {SETUP_AT_REST:?} after all was well again", self.name);
            game.tally.broken(Promise::RecoversByItself, what);
        }
        Ok(())
    }

    /// Keeps all that was written about a broken promise.
    fn keep(&self, game: &Game, database: Option<&Database>) -> Result<(), Failure> {
        self.world.flush_notes();
        let kept = game.keep.join(&self.name);
        copy(&self.folder, &kept)?;
        if let Some(database) = database {
            fs::copy(&database.cluster.made.log_file, kept.join("postgres.log"))?;
        }
        Ok(())
    }
}

pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Everybody who calls, until the round ends.
async fn load(world: Arc<World>, name: String, seed: u64, people: usize, is_fresh: bool) -> Result<(), Failure> {
    let caller = |who: String| Caller::new(&world, &format!("{name} {who}"), seed);
    let mut first = caller("operator".to_owned())?;
    if is_fresh {
        let guessers: Result<Vec<Caller>, _> = (0..4).map(|number| caller(format!("guesser {number}"))).collect();
        let _until_the_round_ends = setup::guess(&first, guessers?).await;
    }
    if world.owner.get().is_none()
        && let Some(owner) = setup::set_up(&mut first).await
    {
        world.keep_out_of_the_log(&owner);
        let _first = world.owner.set(owner);
    }
    let Some(owner) = world.owner.get() else { return Ok(()) };
    let mut players = tokio::task::JoinSet::new();
    for number in 0..people {
        let (caller, owner) = (caller(format!("person {number}"))?, owner.clone());
        players.spawn(async move { drop(live(caller, owner).await) });
    }
    let three = |who: &str| {
        Ok::<_, reqwest::Error>([caller(format!("{who} 0"))?, caller(format!("{who} 1"))?, caller(format!("{who} 2"))?])
    };
    let (rivals, shares, asks) = (three("rival")?, three("sharer")?, caller("watcher".to_owned())?);
    let (for_rivals, for_sharers) = (owner.clone(), owner.clone());
    players.spawn(async move { drop(race(rivals, for_rivals).await) });
    players.spawn(async move { drop(share(shares, for_sharers).await) });
    players.spawn(async move { drop(ask_about_the_ended(asks).await) });
    while let Some(player) = players.join_next().await {
        player?;
    }
    Ok(())
}

/// When all is well, every node answers every question, and rightly.
async fn at_rest(world: &Arc<World>, name: &str, seed: u64) -> Result<(), Failure> {
    let mut caller = Caller::new(world, &format!("{name} inspector"), seed)?.who_waits();
    for node in 0..world.nodes() {
        let Some(owner) = world.owner.get() else { break };
        let me = Call::get("/v1/users/me", owner);
        let outcome = caller.at(node, &me).await;
        world.tally.checked(Promise::RecoversByItself);
        let is_owner = |outcome: &Option<Outcome>| matches!(outcome, Some(Outcome::Answered(answer)) if answer.text("/user/role") == "owner");
        if !is_owner(&outcome) {
            let what = format!("node {node} is ready and does not know the owner: {outcome:?}");
            world.tally.broken(Promise::RecoversByItself, what);
        }
        for ended in world.all_ended().into_iter().rev().take(ASKED_AT_REST) {
            refused(&mut caller, node, &ended.token, &ended.how).await;
        }
    }
    Ok(())
}
